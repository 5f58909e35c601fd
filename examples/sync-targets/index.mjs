export { handler } from 'mysql-iam-proxy/sync-targets-lambda'
