// Every address is relative to the page, so that it also works below a path prefix.
const issuer = fetch(".well-known/oauth-authorization-server")
  .then((answer) => answer.json())
  .then((metadata) => metadata.issuer)
  .catch(() => undefined);

// Administration needs a token for the issuer. Swagger UI has no setting for a parameter of its token
// request, so this adds one. The header tells that request from one that a person tries out.
async function askForTheIssuer(request) {
  const path = new URL(request.url, window.location.href).pathname;
  const isForAToken =
    path.endsWith("/oauth/token") &&
    request.headers["X-Requested-With"] === "XMLHttpRequest" &&
    typeof request.body === "string";
  const resource = isForAToken ? await issuer : undefined;
  if (resource !== undefined) {
    request.body += `&resource=${encodeURIComponent(resource)}`;
  }
  return request;
}

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  requestInterceptor: askForTheIssuer,
  // Neither the tokens nor the document go anywhere else.
  persistAuthorization: false,
  validatorUrl: null,
});
window.ui.initOAuth({ clientId: "keyturn" });
