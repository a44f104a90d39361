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
