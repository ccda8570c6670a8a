// Copyright (c) 2026, the govuk.env_sync contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// An example to copy and adapt: the file names of access-limited assets, which may tell what nobody else is to know yet.
// For the database govuk_assets_production (collection assets: access_limited, legacy_url_path). Run by mongosh on a
// pull's scratch collections; an error ends the pull before anything is live.

// What is put in place of the last part of the path.
const REDACTED = "redacted.pdf";

const limited = { access_limited: { $exists: true, $nin: [[], false, null] }, legacy_url_path: { $type: "string" } };
db.assets.find(limited).forEach((asset) => {
  const parts = asset.legacy_url_path.split("/");
  parts[parts.length - 1] = REDACTED;
  db.assets.updateOne({ _id: asset._id }, { $set: { legacy_url_path: parts.join("/") } });
});
