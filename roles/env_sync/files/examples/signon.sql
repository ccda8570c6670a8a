-- Copyright (c) 2026, the govuk.env_sync contributors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- An example to copy and adapt: the addresses of OAuth applications, moved to another environment's domains.
-- For the database signon_production (table oauth_applications: home_uri, redirect_uri) on MySQL or MariaDB. The values
-- are those of the original for staging; it did nothing elsewhere. The comparison has a collation of its own, so that
-- the columns may have any.

SET @old = 'publishing.service.gov.uk', @new = 'staging.publishing.service.gov.uk';
UPDATE oauth_applications
  SET home_uri = REPLACE(home_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, home_uri) > 0;
UPDATE oauth_applications
  SET redirect_uri = REPLACE(redirect_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, redirect_uri) > 0;

SET @old = 'performance.service.gov.uk', @new = 'staging.performance.service.gov.uk';
UPDATE oauth_applications
  SET home_uri = REPLACE(home_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, home_uri) > 0;
UPDATE oauth_applications
  SET redirect_uri = REPLACE(redirect_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, redirect_uri) > 0;

SET @old = '-production.cloudapps.digital', @new = '-staging.cloudapps.digital';
UPDATE oauth_applications
  SET home_uri = REPLACE(home_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, home_uri) > 0;
UPDATE oauth_applications
  SET redirect_uri = REPLACE(redirect_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, redirect_uri) > 0;

SET @old = '-production.london.cloudapps.digital', @new = '-staging.london.cloudapps.digital';
UPDATE oauth_applications
  SET home_uri = REPLACE(home_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, home_uri) > 0;
UPDATE oauth_applications
  SET redirect_uri = REPLACE(redirect_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, redirect_uri) > 0;

SET @old = 'admin.forms.service.gov.uk', @new = 'admin.staging.forms.service.gov.uk';
UPDATE oauth_applications
  SET home_uri = REPLACE(home_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, home_uri) > 0;
UPDATE oauth_applications
  SET redirect_uri = REPLACE(redirect_uri, CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, @new)
  WHERE LOCATE(CONVERT(@old USING utf8mb4) COLLATE utf8mb4_bin, redirect_uri) > 0;
