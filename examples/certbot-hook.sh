#!/bin/sh
# Hands certbot's certificate to the daemon, whose user may not read where certbot keeps it.
#
#   install --mode=755 examples/certbot-hook.sh /usr/local/sbin/guerrilla-certificate
#   certbot certonly --standalone --domain mail.example.com \
#       --deploy-hook /usr/local/sbin/guerrilla-certificate
#
# certbot runs it for the first certificate, and remembers it for each renewal.

set -e
install --directory --group=guerrilla --mode=750 /etc/guerrilla/tls
install --group=guerrilla --mode=640 "$RENEWED_LINEAGE/privkey.pem" /etc/guerrilla/tls/key.pem
install --group=guerrilla --mode=640 "$RENEWED_LINEAGE/fullchain.pem" /etc/guerrilla/tls/certificate.pem
# Without systemd: kill -HUP "$(cat /run/guerrilla/guerrilla.pid)"
systemctl try-reload-or-restart guerrilla
