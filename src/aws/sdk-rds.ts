/**
 * The calls of RDS that this program makes. The SDK has many more, and an import of its package would
 * bundle them all.
 */
export {
  DescribeDBClustersCommand,
  DescribeDBInstancesCommand,
  DescribeDBLogFilesCommand,
  DescribeDBProxiesCommand,
  DescribeDBProxyEndpointsCommand,
  DescribeGlobalClustersCommand,
  DownloadDBLogFilePortionCommand,
  paginateDescribeDBClusters,
  paginateDescribeDBInstances,
  paginateDescribeDBProxies,
  paginateDescribeDBProxyEndpoints,
  paginateDescribeSourceRegions,
  RDSClient,
} from '@aws-sdk/client-rds'
