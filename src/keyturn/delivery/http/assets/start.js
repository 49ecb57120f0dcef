// Every address is relative to the page, so that it also works below a path prefix.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // Neither the tokens nor the document go anywhere else.
  persistAuthorization: false,
  validatorUrl: null,
});
window.ui.initOAuth({ clientId: "keyturn" });
