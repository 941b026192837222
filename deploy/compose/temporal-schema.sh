#!/bin/sh
# Makes, or brings up to date, Temporal's tables. Repeatable.
set -eu
SQL_PASSWORD=$(cat /run/secrets/password-temporal)
export SQL_PASSWORD
for database in temporal temporal_visibility; do
  schema=${database#temporal_}
  temporal-sql-tool --database "$database" setup-schema --version 0.0
  temporal-sql-tool --database "$database" update-schema --schema-name "postgresql/v12/$schema"
done
