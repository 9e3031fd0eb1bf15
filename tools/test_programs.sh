#!/bin/sh
# Installs the programs that tests talk to. Where that cannot be, their tests skip, or fail under CI.
set -eu

# program:package
programs='swaks:swaks smtp-source:postfix haproxy:haproxy nginx:nginx curl:curl openssl:openssl
    redis-server:redis-server mariadbd:mariadb-server dovecot:dovecot-imapd logrotate:logrotate
    systemd-analyze:systemd'
# Debian puts these where no path leads, with their version in the name.
versioned='/usr/sbin/php-fpm*:php-fpm /usr/lib/postgresql/*/bin/postgres:postgresql'
# Modules of nginx, which are packages of their own.
modules='stream mail'

missing=
for pair in $programs; do
    command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
for pair in $versioned; do
    # shellcheck disable=SC2086  # a pattern on purpose
    ls ${pair%:*} >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
for module in $modules; do
    [ -e "/usr/lib/nginx/modules/ngx_${module}_module.so" ] ||
        missing="$missing libnginx-mod-$module"
done
# swaks needs it for TLS.
perl -MNet::SSLeay -e 1 2>/dev/null || missing="$missing libnet-ssleay-perl"
if [ -n "$missing" ]; then
    # Only smtp-source is wanted of Postfix, not a mail server at the next boot.
    if [ "$(id -u)" = 0 ] && command -v debconf-set-selections >/dev/null; then
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
    # shellcheck disable=SC2086  # words on purpose
    "$(dirname "$0")/apt_install.sh" $missing || \
        echo "the tests that need them skip, or fail where CI is set" >&2
fi
