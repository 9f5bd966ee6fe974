import Foundation
import Testing

/// Keeps the units' restrictions: none of them is missed by anybody until it is needed.
@Suite("systemd units")
struct SystemdUnitTests {
    /// What every unit says of the service, but for the few lines that tell the three apart.
    private static let common: Set<String> = [
        "Type=notify",
        "NotifyAccess=main",
        "Environment=LIBDISPATCH_LOG=NO",
        "StateDirectoryMode=0700",
        "UMask=0077",
        "TimeoutStopSec=10s",
        "WatchdogSec=30s",
        "Restart=on-failure",
        "RestartSec=5s",
        "RestartPreventExitStatus=64 65 66 77 78",
        "LimitCORE=0",
        "LimitNOFILE=65536",
        "LimitMEMLOCK=1M",
        "MemorySwapMax=0",
        "TasksMax=256",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "DevicePolicy=closed",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "PrivateIPC=yes",
        "PrivateMounts=yes",
        "KeyringMode=private",
        "RemoveIPC=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "NoNewPrivileges=yes",
        "PrivateUsers=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "MemoryDenyWriteExecute=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources @setuid @keyring @aio",
        "SystemCallErrorNumber=EPERM",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    ]

    private static let own: [String: Set<String>] = [
        "thor-directory": [
            "User=thor-directory",
            "EnvironmentFile=/etc/thor/directory.conf",
            "LoadCredential=directory.key:/etc/thor/directory.key",
            "ExecStart=/usr/local/bin/thor-directory %d/directory.key --state %S/thor-directory $OPTIONS",
            "StateDirectory=thor-directory",
            "TimeoutStartSec=30s",
        ],
        "thor-proxy": [
            "User=thor-proxy",
            "EnvironmentFile=/etc/thor/proxy.conf",
            "ExecStart=/usr/local/bin/thor-proxy ${DIRECTORY} /etc/thor/directory.pub --state %S/thor-proxy $OPTIONS",
            "StateDirectory=thor-proxy",
            "TimeoutStartSec=infinity",
        ],
        "thor-router": [
            "User=thor-router",
            "EnvironmentFile=/etc/thor/router.conf",
            "LoadCredential=router.key:/etc/thor/router.key",
            "ExecStart=/usr/local/bin/thor-router ${DIRECTORY} /etc/thor/directory.pub %d/router.key --state %S/thor-router $OPTIONS",
            "StateDirectory=thor-router",
            "TimeoutStartSec=2min",
        ],
    ]

    @Test("each unit says exactly this of its service", arguments: ["thor-directory", "thor-router", "thor-proxy"])
    func service(name: String) throws {
        let path = NamedTests.root.appendingPathComponent("systemd/\(name).service")
        let lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n").map(String.init)
        let service = Set(
            lines.drop { $0 != "[Service]" }.dropFirst().prefix { !$0.hasPrefix("[") }.filter { !$0.hasPrefix("#") })
        let wanted = Self.common.union(try #require(Self.own[name]))
        #expect(service.subtracting(wanted).isEmpty, "new")
        #expect(wanted.subtracting(service).isEmpty, "gone")
        #expect(lines.contains("StartLimitIntervalSec=0"))
    }
}
