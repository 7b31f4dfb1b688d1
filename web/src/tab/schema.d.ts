/** Made by vite.config.ts of the server's document. */
declare module "virtual:config-schema" {
  const schema: object;
  export default schema;
}
