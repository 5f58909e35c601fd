/** The version of this package for the library, which may be in a bundle without package.json. A test compares both. */
export const LIBRARY_VERSION = '0.1.0'
