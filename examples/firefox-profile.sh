#!/bin/sh
# Start Firefox in a profile of its own that goes through the proxy, names included.
#     firefox-profile.sh DIRECTORY [ADDRESS:PORT]
set -eu
directory=${1:?usage: firefox-profile.sh DIRECTORY [ADDRESS:PORT]}
proxy=${2:-127.0.0.1:1080}
mkdir -p "$directory"
cat >"$directory/user.js" <<EOF
user_pref("network.proxy.type", 1);
user_pref("network.proxy.socks", "${proxy%:*}");
user_pref("network.proxy.socks_port", ${proxy##*:});
user_pref("network.proxy.socks_version", 5);
user_pref("network.proxy.socks_remote_dns", true);
user_pref("network.proxy.no_proxies_on", "");
user_pref("network.proxy.allow_hijacking_localhost", true);
user_pref("network.proxy.failover_direct", false);
user_pref("network.trr.mode", 5);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.predictor.enabled", false);
user_pref("network.prefetch-next", false);
user_pref("media.peerconnection.enabled", false);
user_pref("network.http.http3.enable", false);
EOF
[ "${FIREFOX:-firefox}" = none ] || exec "${FIREFOX:-firefox}" --no-remote --profile "$directory"
