// The token stands behind the # of the address, which browsers send to nobody. Every address is
// relative to the page, so that it also works below a path prefix.
const form = document.querySelector("form");
const button = form.querySelector("button");
const password = document.getElementById("password");
const shown = document.getElementById("shown");
// Of the page that confirms an address alone: it asks for a password when the service does.
const proof = document.getElementById("proof");
const whose = document.getElementById("whose");
const result = document.getElementById("result");
const token = new URLSearchParams(location.hash.slice(1)).get("token");

function tell(text, kind) {
  result.textContent = text;
  result.className = kind;
}

function reasonOf(answer, problem) {
  if (answer.status === 429) {
    const minutes = Math.ceil(Number(answer.headers.get("Retry-After")) / 60);
    return `Too many attempts. Try again in ${minutes} ${minutes === 1 ? "minute" : "minutes"}.`;
  }
  return problem.detail || "Something went wrong. Try again later.";
}

function fieldOfPassword() {
  if (!proof) return "new_password";
  const chosen = whose.hidden ? null : whose.querySelector("input:checked");
  return chosen ? chosen.value : "password";
}

function body() {
  if (!password || proof?.hidden) return { token };
  return { token, [fieldOfPassword()]: password.value };
}

// A new password and the one of the account are different things to a password manager.
function nameTheField() {
  const isNew = fieldOfPassword() === "new_password";
  document.getElementById("label").textContent = isNew ? "New password" : "Password";
  document.getElementById("hint").hidden = !isNew;
  password.autocomplete = isNew ? "new-password" : "current-password";
}

function askForPassword(canBeNew) {
  document.getElementById("ask").hidden = true;
  whose.hidden = !canBeNew;
  proof.hidden = false;
  password.required = true;
  nameTheField();
  password.focus();
}

async function submit() {
  const answer = await fetch(form.dataset.route, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body()),
  });
  if (answer.ok) {
    form.hidden = true;
    tell(result.dataset.done, "good");
    return;
  }
  // What stands between may answer with something else than JSON.
  const problem = await answer.json().catch(() => ({}));
  if (proof && ["password_required", "current_password_required"].includes(problem.code)) {
    askForPassword(problem.code === "password_required");
    tell(problem.detail, "");
    return;
  }
  tell(reasonOf(answer, problem), "bad");
  if (problem.errors?.some((error) => error.field === fieldOfPassword())) {
    password.setAttribute("aria-invalid", "true");
    password.focus();
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  password?.removeAttribute("aria-invalid");
  tell("One moment…", "");
  try {
    await submit();
  } catch {
    tell("The service can't be reached. Try again.", "bad");
  } finally {
    button.disabled = false;
  }
});

whose?.addEventListener("change", nameTheField);

if (shown) {
  shown.addEventListener("change", () => {
    password.type = shown.checked ? "text" : "password";
  });
}

if (token) {
  // Out of the address bar and the history, where others could read it.
  history.replaceState(null, "", location.pathname);
  form.hidden = false;
} else {
  tell("This link is incomplete. Open the one in the mail again.", "bad");
}
