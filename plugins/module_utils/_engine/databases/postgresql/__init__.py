# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL: ``pg_dump`` and ``pg_restore`` for the data, SQL for everything else.

===================  ==================================================================================================
both ways            :mod:`.database` is the class that the stories see; :mod:`.access` reaches the server, by way of
                     :mod:`.client`, :mod:`.programs` and :mod:`.names`; :mod:`.waits` watches for locks,
                     :mod:`.properties` are a database's own, :mod:`.rows` counts
a push               :mod:`.dump`: what is left out (:mod:`.excluded`), one state of all (:mod:`.snapshot`), the files
                     of ``pg_dump`` while they grow (:mod:`.follow`), why it failed (:mod:`.failures`)
a pull               :mod:`.preflight` with :mod:`.checks`, :mod:`.restore` into what :mod:`.scratch` makes, by way of
                     :mod:`.feed`, or :mod:`.first_pull`; then :mod:`.swap`, with :mod:`.sessions`
the archive          :mod:`.toc` and :mod:`.sql` read it, :mod:`.archive` and :mod:`.versions` find it fit to be read;
                     :mod:`.fit` fits it to a :mod:`.target`: :mod:`.roles`, :mod:`.superuser`, :mod:`.grants`,
                     :mod:`.leave_out`, :mod:`.order`, :mod:`.notes`; :mod:`.owners` does what has to come after it,
                     :mod:`.messages` says why ``pg_restore`` failed
an operator's SQL    :mod:`.transform`: looked through first (:mod:`.scripts`, :mod:`.lexer`), run with a mark at its
                     end (:mod:`.mark`, :mod:`.psql`), compared (:mod:`.effect`), and its traces removed
                     (:mod:`.purge`)
===================  ==================================================================================================
"""
