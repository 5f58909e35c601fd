/** What `aws configure sso` writes for a profile with a session. */
export const START_URL = 'https://example.awsapps.com/start'

export const SSO_PROFILE = `[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Developer
region = us-west-2

[sso-session corp]
sso_start_url = ${START_URL}
sso_region = us-east-1
`
