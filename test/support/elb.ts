/**
 * A stand-in for Elastic Load Balancing (version 2015-12-01) with one target group. It uses the wire format of the API:
 * form-encoded requests and XML responses.
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/Welcome.html
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export const TARGET_GROUP =
  'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/my-database/73e2d6bc24d8a067'

export interface StandInTarget {
  address: string
  port: number
  zone: string | undefined
  state: 'initial' | 'healthy' | 'unhealthy' | 'unused' | 'draining'
  reason: string | undefined
}

export interface ElbFault {
  status: number
  code: string
  message: string
}

export const FAULTS = {
  throttling: { status: 400, code: 'Throttling', message: 'Rate exceeded' },
  denied: {
    status: 403,
    code: 'AccessDenied',
    message: 'User: arn:aws:iam::123456789012:user/me is not authorized to perform this',
  },
  broken: { status: 503, code: 'ServiceUnavailable', message: 'Service is unavailable' },
  expired: { status: 403, code: 'ExpiredToken', message: 'The security token included in the request is expired' },
} as const satisfies Record<string, ElbFault>

export interface ElbStandIn {
  /** for AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2 */
  url: string
  /** the targets in order of registration; tests may change them */
  targets: StandInTarget[]
  /** adds a target without a call */
  add(address: string, port?: number, state?: StandInTarget['state']): StandInTarget
  group: { targetType: string; addressType: string }
  /** the states of a new target: each DescribeTargetHealth takes the next one, and the last one stays */
  healthOfNew: StandInTarget['state'][]
  /** addresses that require a zone */
  outsideVpc: Set<string>
  /** answers to the next calls instead of the group's; only for the named action, if any */
  faults: { fault: ElbFault; action?: string }[]
  /** answers all calls with status 200, as a captive portal does */
  loginPage: string | undefined
  /** calls so far: the action and its targets as `address:port`, with `@zone` if it has one */
  calls: string[]
  /** the lowest number of targets so far that were registered and not draining */
  leastLive: number
  /** after each change */
  onChange: () => void
  close(): Promise<void>
}

const XMLNS = 'http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/'

export async function startElb(port = 0, host = '127.0.0.1'): Promise<ElbStandIn> {
  const coming = new Map<StandInTarget, StandInTarget['state'][]>()
  const server = createServer(async (request, response) => {
    const form = await readForm(request)
    const action = form.get('Action') ?? ''
    if (standIn.loginPage !== undefined) {
      response.writeHead(200, { 'content-type': 'text/html' }).end(standIn.loginPage)
      return
    }
    const result = answer(action, form)
    const [status, body] =
      'code' in result
        ? [result.status, errorBody(result)]
        : [
            200,
            `<${action}Response xmlns="${XMLNS}"><${action}Result>${result.xml}</${action}Result>${METADATA}</${action}Response>`,
          ]
    response.writeHead(status, { 'content-type': 'text/xml' }).end(body)
  })

  function answer(action: string, form: URLSearchParams): ElbFault | { xml: string } {
    const asked = targetsOf(form)
    standIn.calls.push(
      [action, ...asked.map(({ address, port, zone }) => `${address}:${port}${zone ? `@${zone}` : ''}`)].join(' '),
    )
    const at = standIn.faults.findIndex(entry => entry.action === undefined || entry.action === action)
    if (at >= 0) return standIn.faults.splice(at, 1)[0]!.fault
    if (form.get('Version') !== '2015-12-01') return invalid('NoSuchVersion', 'API version')
    const arn = form.get('TargetGroupArn') ?? form.get('TargetGroupArns.member.1')
    if (arn !== TARGET_GROUP) return invalid('TargetGroupNotFound', `Target groups '${arn}' not found`)
    switch (action) {
      case 'DescribeTargetGroups':
        return { xml: `<TargetGroups><member>${groupXml(standIn)}</member></TargetGroups>` }
      case 'DescribeTargetHealth':
        return { xml: describeHealth() }
      case 'RegisterTargets':
        return register(asked)
      case 'DeregisterTargets':
        return deregister(asked)
      default:
        return invalid('InvalidAction', `The action ${action} is not valid`)
    }
  }

  function describeHealth(): string {
    for (const target of standIn.targets) {
      const states = coming.get(target)
      if (states && states.length > 0) settle(target, states.shift()!)
    }
    const xml = standIn.targets.map(healthXml).join('')
    // A draining target is listed for a while and then removed.
    standIn.targets = standIn.targets.filter(
      target => !(target.state === 'draining' && coming.get(target)?.length === 0),
    )
    return `<TargetHealthDescriptions>${xml}</TargetHealthDescriptions>`
  }

  function register(asked: AskedTarget[]): ElbFault | { xml: string } {
    for (const { address, zone } of asked) {
      const isOutside = standIn.outsideVpc.has(address)
      if (isOutside && zone !== 'all') {
        const message = `You must specify a valid Availability Zone or select 'all' for all enabled Availability zones, since the IP address '${address}' is outside the VPC`
        return invalid('ValidationError', message)
      }
      if (!isOutside && zone === 'all') {
        const message = `The IP address '${address}' is within the VPC, and cannot have its Availability Zone overridden to 'all' from 'eu-west-1a'`
        return invalid('ValidationError', message)
      }
      if (!/^(10|172|192|100)\.|:/.test(address)) {
        return invalid('InvalidTarget', `The IP address '${address}' is not a valid private IPv4 address`)
      }
    }
    for (const { address, port, zone } of asked) {
      const known = standIn.targets.find(target => target.address === address && target.port === port)
      if (known && known.state !== 'draining') continue
      if (known) standIn.targets.splice(standIn.targets.indexOf(known), 1)
      const target: StandInTarget = { address, port, zone: zone ?? 'eu-west-1a', state: 'initial', reason: undefined }
      settle(target, 'initial')
      coming.set(target, [...standIn.healthOfNew])
      standIn.targets.push(target)
    }
    changed()
    return { xml: '' }
  }

  function deregister(asked: AskedTarget[]): { xml: string } {
    for (const { address, port } of asked) {
      const target = standIn.targets.find(target => target.address === address && target.port === port)
      if (!target || target.state === 'draining') continue
      settle(target, 'draining')
      coming.set(target, ['draining', 'draining'])
    }
    changed()
    return { xml: '' }
  }

  function changed(): void {
    const live = standIn.targets.filter(({ state }) => state !== 'draining').length
    standIn.leastLive = Math.min(standIn.leastLive, live)
    standIn.onChange()
  }

  const standIn: ElbStandIn = {
    url: '',
    targets: [],
    add(address, port = 3306, state = 'healthy') {
      const target: StandInTarget = { address, port, zone: 'eu-west-1a', state, reason: undefined }
      settle(target, state)
      standIn.targets.push(target)
      standIn.leastLive = standIn.targets.length
      return target
    },
    group: { targetType: 'ip', addressType: 'ipv4' },
    healthOfNew: ['initial', 'healthy'],
    outsideVpc: new Set(),
    faults: [],
    loginPage: undefined,
    calls: [],
    leastLive: 0,
    onChange: () => {},
    close: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
  server.listen(port, host)
  await once(server, 'listening')
  standIn.url = `http://${host}:${(server.address() as AddressInfo).port}`
  return standIn
}

const REASONS: Partial<Record<StandInTarget['state'], string>> = {
  initial: 'Elb.RegistrationInProgress',
  unhealthy: 'Target.FailedHealthChecks',
  unused: 'Target.NotInUse',
  draining: 'Target.DeregistrationInProgress',
}

/** Sets the state of a target, with its usual reason. */
export function settle(target: StandInTarget, state: StandInTarget['state']): void {
  target.state = state
  target.reason = REASONS[state]
}

interface AskedTarget {
  address: string
  port: number
  zone: string | undefined
}

/** `Targets.member.1.Id=10.0.0.1&Targets.member.1.Port=3306` */
function targetsOf(form: URLSearchParams): AskedTarget[] {
  const targets: AskedTarget[] = []
  for (let n = 1; form.has(`Targets.member.${n}.Id`); n++) {
    const field = (name: string) => form.get(`Targets.member.${n}.${name}`) ?? undefined
    targets.push({ address: field('Id')!, port: Number(field('Port')), zone: field('AvailabilityZone') })
  }
  return targets
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return new URLSearchParams(Buffer.concat(chunks).toString())
}

const METADATA = '<ResponseMetadata><RequestId>89d2d496-f3f4-11e5-a04e-53ca31d0c1ac</RequestId></ResponseMetadata>'

function groupXml({ group }: ElbStandIn): string {
  return `<TargetGroupArn>${TARGET_GROUP}</TargetGroupArn><TargetGroupName>my-database</TargetGroupName><Protocol>TCP</Protocol><Port>3306</Port><VpcId>vpc-3ac0fb5f</VpcId><TargetType>${group.targetType}</TargetType><IpAddressType>${group.addressType}</IpAddressType><HealthCheckProtocol>TCP</HealthCheckProtocol><HealthCheckPort>traffic-port</HealthCheckPort><LoadBalancerArns/>`
}

function healthXml({ address, port, zone, state, reason }: StandInTarget): string {
  const reasonXml = reason ? `<Reason>${reason}</Reason>` : ''
  const zoneXml = zone ? `<AvailabilityZone>${zone}</AvailabilityZone>` : ''
  return `<member><HealthCheckPort>${port}</HealthCheckPort><TargetHealth><State>${state}</State>${reasonXml}</TargetHealth><Target><Id>${address}</Id><Port>${port}</Port>${zoneXml}</Target></member>`
}

function invalid(code: string, message: string): ElbFault {
  return { status: 400, code, message }
}

/** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html */
function errorBody({ status, code, message }: ElbFault): string {
  const type = status >= 500 ? 'Receiver' : 'Sender'
  const text = message.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<ErrorResponse xmlns="${XMLNS}"><Error><Type>${type}</Type><Code>${code}</Code><Message>${text}</Message></Error><RequestId>6ef9a7c8</RequestId></ErrorResponse>`
}
