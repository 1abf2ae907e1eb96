// Requests to the controller, and the token that some of them want.

const KEY = "vnftwin-token"; // of this tab only: it is gone with it

export const token = () => sessionStorage.getItem(KEY) ?? "";

/** The controller's answer to a request; an Error with its own words where it says no. */
export async function ask(method, path, body) {
  for (;;) {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    if (token()) headers.Authorization = `Bearer ${token()}`;
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    if (response.status !== 401) return answer(response);
    await askForToken();
  }
}

async function answer(response) {
  const said = await response.json().catch(() => ({}));
  if (response.ok) return said;
  const error = new Error(said.reason ?? said.error ?? response.statusText);
  Object.assign(error, { status: response.status, reason: said.reason ?? "", detail: said.detail ?? "" });
  throw error;
}

let asking = null;

/** Returns when a person has given a token; many may wait for the one answer. */
export function askForToken() {
  asking ??= new Promise((given) => {
    const dialog = document.getElementById("token-dialog");
    const form = dialog.querySelector("form");
    const field = form.elements.token;
    document.getElementById("token-wrong").hidden = !token();
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      dialog.close();
      asking = null;
      given();
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
  return asking;
}
