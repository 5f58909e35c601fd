export default {
  testMatch: ['**/*.jest.cjs'],
  globalSetup: './jest-setup.js',
  globalTeardown: './jest-teardown.js',
}
