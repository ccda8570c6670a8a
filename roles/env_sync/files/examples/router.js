// Copyright (c) 2026, the govuk.env_sync contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// An example to copy and adapt: a router's backends, moved to this environment's domain.
// For the databases router and draft_router (collection backends: backend_id, backend_url). Run by mongosh on a pull's
// scratch collections; an error ends the pull before anything is live.

// This environment's domain: what the original had in env.d/LOCAL_DOMAIN (app_domain_internal of the hieradata).
const LOCAL_DOMAIN = "";                       // for example "staging.govuk-internal.digital"

// The domain in the data that is pulled. Empty: that of the backend "static".
const SOURCE_DOMAIN = "";

// Backends that are elsewhere in the environment that the data comes from: their domain there, and the one to have here.
// For example { "licensify": { from: "publishing.service.gov.uk", to: LOCAL_DOMAIN } }.
const ELSEWHERE = {};

if (!LOCAL_DOMAIN) {
  throw new Error("LOCAL_DOMAIN is not set in this script");
}

function hostOf(url) {
  const match = /^[a-z]+:\/\/([^\/:]+)/.exec(url || "");
  return match ? match[1] : "";
}

// Give a host another domain. One that is not in the domain, or has the new one already, stays as it is.
function moved(url, from, to) {
  const host = hostOf(url);
  if (!host.endsWith("." + from) || host.endsWith("." + to)) {
    return url;
  }
  return url.replace(host, host.slice(0, -from.length) + to);
}

function sourceDomain() {
  const known = db.backends.findOne({ backend_id: "static" });
  const host = known ? hostOf(known.backend_url) : "";
  if (!host.includes(".")) {
    throw new Error("there is no backend static to take the source's domain from: set SOURCE_DOMAIN in this script");
  }
  return host.slice(host.indexOf(".") + 1);
}

const source = SOURCE_DOMAIN || sourceDomain();
db.backends.find().forEach((backend) => {
  const rule = ELSEWHERE[backend.backend_id] || { from: source, to: LOCAL_DOMAIN };
  const url = moved(backend.backend_url, rule.from, rule.to);
  if (url !== backend.backend_url) {
    db.backends.updateOne({ _id: backend._id }, { $set: { backend_url: url } });
  }
});
