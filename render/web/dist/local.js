// From a disk browsers load no modules, and so the page itself could not say why nothing comes.
if (location.protocol === "file:") {
  const message = document.getElementById("message");
  message.className = "error";
  message.textContent = "A browser shows this page only from a web server. In this folder, run: python -m http.server";
}
