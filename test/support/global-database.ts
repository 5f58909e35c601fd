/** An Aurora global database, and the certificates of its clusters. */
export const GLOBAL = 'shop.global-abcdefghijkl.global.rds.amazonaws.com'

/** The names on the certificate of a cluster of the global database. */
export function namesIn(region: string): string[] {
  return [
    GLOBAL,
    `shop-1.abcdefghijkl.${region}.rds.amazonaws.com`,
    `shop.cluster-abcdefghijkl.${region}.rds.amazonaws.com`,
    `*.cluster-custom-abcdefghijkl.${region}.rds.amazonaws.com`,
  ]
}
