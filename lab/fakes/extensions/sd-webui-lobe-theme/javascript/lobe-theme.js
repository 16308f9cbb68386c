// sdops lab fake of lobe-theme: marks the page so that one sees that the extension is loaded.
document.addEventListener("DOMContentLoaded", () => {
  document.documentElement.dataset.lobeTheme = "sdops lab fake";
  document.body.style.background = "linear-gradient(160deg, #14161c, #23314a) fixed";
});
