/* The little the pages need beyond htmx; everything works without it. */
"use strict";

// A date chosen is a date asked for.
document.addEventListener("change", (event) => {
  if (event.target.matches("input[data-submits]") && event.target.value) {
    event.target.form.requestSubmit();
  }
});

// A button pressed once says what it does and cannot be pressed again.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button || !button.dataset.busy) return;
  button.dataset.label = button.textContent;
  button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
  setTimeout(() => { button.disabled = true; }, 0);
});

// Coming back with the back button: buttons are themselves again.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[data-label]")) {
    button.disabled = false;
    button.textContent = button.dataset.label;
    button.removeAttribute("aria-busy");
  }
});

// Nobody looks at a hidden page: ask again when somebody does.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.visibilityState === "hidden") event.preventDefault();
});

// Sums while money is counted; the server adds up again by itself.
const yuan = (fen) => (fen / 100).toLocaleString("en-US", { minimumFractionDigits: 2 });
const fenOf = (input) => Math.round(Number((input?.value || "0").replace(/,/g, "")) * 100) || 0;

function addUp(form) {
  const ticked = [...form.querySelectorAll("[name=bill]:checked")];
  const total = ticked.reduce((sum, bill) => sum + Number(bill.dataset.fen), fenOf(form.elements.topup));
  const change = fenOf(form.elements.tendered) - total;
  form.querySelector("[data-total]").value = yuan(total);
  form.querySelector("[data-change]").value = form.elements.tendered.value && change >= 0 ? yuan(change) : "–";
}

document.addEventListener("input", (event) => {
  const till = event.target.closest("[data-till]");
  if (till) addUp(till);
  const drawer = event.target.closest("[data-counting]");
  if (!drawer) return;
  const pieces = [...drawer.querySelectorAll("input[data-fen]")];
  const fen = pieces.reduce((sum, one) => sum + Number(one.dataset.fen) * (Number(one.value) || 0), 0);
  drawer.querySelector("[data-counted]").value = yuan(fen);
});

// Rows of a form: one more, empty, under the next number.
document.addEventListener("click", (event) => {
  if (!event.target.matches("[data-more]")) return;
  const rows = event.target.closest("[data-rows]");
  const last = [...rows.querySelectorAll(".field-row")].at(-1);
  const row = last.cloneNode(true);
  const name = rows.dataset.rows;
  const index = rows.querySelectorAll(".field-row").length;
  const renamed = (text) => text.replace(new RegExp(`^${name}\\.\\d+\\.`), `${name}.${index}.`);
  for (const said of row.querySelectorAll(".field-bad")) said.remove();
  for (const label of row.querySelectorAll("label")) label.htmlFor = renamed(label.htmlFor);
  for (const input of row.querySelectorAll("input, select")) {
    input.id = renamed(input.id);
    input.name = renamed(input.name);
    input.value = "";
    input.classList.remove("input-bad");
  }
  last.after(row);
  row.querySelector("input, select").focus();
});
