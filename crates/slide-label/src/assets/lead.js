// The lead's page: progress, agreement, disputed slides, invitations.

import { api } from "./api.js";
import { isDeciding, showDisputes } from "./dispute.js";
import { $, BASE, h, setUpTheme } from "./dom.js";
import { agreementTable, ceilingTable, pairTable, progressTable } from "./lead-tables.js";

const REFRESH_MS = 10000;
let session;

setUpTheme($("theme"));
start();

async function start() {
  try {
    session = await api("GET", "/session");
    if (session.person?.role !== "lead") {
      say("This page is for leads. ", h("a", { href: "./" }, "Sign in"));
      return;
    }
    await refresh();
    await refreshInvitations();
    $("lead").hidden = false;
    setInterval(() => { if (!document.hidden) refresh().catch(told); }, REFRESH_MS);
  } catch (failure) {
    told(failure);
    setTimeout(start, 3000);
  }
}

function say(...content) {
  $("status").replaceChildren(...content);
}

function told(failure) {
  say(failure.message);
}

async function refresh() {
  const report = await api("GET", "/lead");
  $("progress").replaceChildren(...progressTable(report));
  $("agreement").replaceChildren(...agreementTable(report, session.rubric));
  $("ceiling").replaceChildren(...ceilingTable(report, session.rubric));
  pairTable($("pairs"), report, session.rubric);
  // A form in which somebody is writing is left alone.
  if (!isDeciding()) await showDisputes($("disputed"), report.disputes, session, refresh, told);
  say(`As of ${new Date().toLocaleTimeString()}`);
}

$("refresh").addEventListener("click", () => refresh().catch(told));

async function refreshInvitations() {
  const { invitations, is_used: isUsed } = await api("GET", "/invitations");
  $("invite-panel").hidden = !isUsed;
  const row = (invitation) => {
    const withdraw = h("button", { type: "button" }, `Withdraw ${invitation.name}'s invitation`);
    withdraw.addEventListener("click", () => api("DELETE", `/invitations/${invitation.id}`).then(refreshInvitations).catch(told));
    const time = (at) => new Date(at).toLocaleString();
    const until = invitation.is_expired ? "has ended" : invitation.expires_at ? time(invitation.expires_at) : "for ever";
    const used = invitation.uses > 0 ? `${invitation.uses} ×, last ${time(invitation.last_used_at)}` : "not yet";
    return h("tr", {}, h("th", { scope: "row" }, invitation.name), h("td", {}, invitation.role), h("td", {}, time(invitation.created_at)),
      h("td", {}, until), h("td", {}, used), h("td", {}, withdraw));
  };
  const head = ["Name", "Role", "Invited", "Link lets in until", "Signed in by it", "Action"].map((text) => h("th", { scope: "col" }, text));
  const box = h("div", { className: "table-box", tabIndex: 0, role: "region", "aria-label": "Invitations" });
  $("invitations").replaceChildren(box);
  box.append(h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...invitations.map(row))));
}

$("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const made = await api("POST", "/invitations", { name: $("invite-name").value, role: $("invite-role").value, days: Number($("invite-days").value) || null });
    $("invite-link").replaceChildren(`Send this link to ${made.name}; it is shown only now: `, h("code", {}, new URL(made.path, BASE).href));
    $("invite-name").value = "";
    await refreshInvitations();
  } catch (failure) {
    told(failure);
  }
});
