/**
 * The calls of Elastic Load Balancing that this program makes. The SDK has many more, and an import of its package would
 * bundle them all.
 */
export {
  DeregisterTargetsCommand,
  DescribeListenerAttributesCommand,
  DescribeLoadBalancersCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  paginateDescribeListeners,
  paginateDescribeLoadBalancers,
  paginateDescribeTargetGroups,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
