import "./style.css";
import { h } from "./dom";
import { askForKey } from "./key";
import { comparePage } from "./pages/compare";
import { jobPage } from "./pages/job";
import { jobsPage } from "./pages/jobs";
import { newPage } from "./pages/new";
import { startRouter } from "./router";

document.getElementById("key-button")!.addEventListener("click", () => askForKey("It is sent with every request, and kept until this tab is closed."));
document.querySelector(".skip")!.addEventListener("click", (event) => {
  event.preventDefault(); // The fragment names pages.
  document.getElementById("main")!.focus();
});
startRouter({ "": jobsPage, jobs: jobPage, new: newPage, compare: comparePage }, (place) =>
  place.append(h("h1", {}, "No such page"), h("p", {}, h("a", { href: "#/" }, "All jobs"))),
);
