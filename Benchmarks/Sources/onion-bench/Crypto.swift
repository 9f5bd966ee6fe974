import OnionCells
@_spi(Testing) import OnionCrypto

/// The layer cipher on one cell body, by each implementation that this machine can run.
func measureCipher(_ meter: inout Meter) throws {
    let relay = CellCommand.relay.rawValue
    for implementation in CipherImplementation.available {
        func cipher(_ number: UInt8) throws -> HopCipher {
            try need(
                HopCipher(
                    keyBytes: (0..<HopCipher.keyByteCount).map { UInt8(truncatingIfNeeded: $0 &* 7) ^ number },
                    implementation: implementation), "a cipher")
        }
        var body = [UInt8](repeating: 0x5a, count: Cell.bodyByteCount)
        let layer = "cipher \(implementation)"
        let one = try cipher(1)
        meter.measure(layer, "router, forward") {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            use(one.forward(command: relay, body: &span))
        }
        meter.measure(layer, "router, backward") {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            one.backward(command: relay, body: &span)
        }
        meter.measure(layer, "router, originate") {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            use(one.originate(command: relay, body: &span))
        }
        meter.measure(layer, "key update") { one.updateKeys(bodyByteCount: Cell.bodyByteCount) }
        let hops = [try cipher(2), try cipher(3), try cipher(4)]
        meter.measure(layer, "client, originate for hop 3") {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            use(ClientCipher.originate(hops, target: 2, command: relay, body: &span))
        }
        // As it comes from the last hop, both ends' states in step.
        let clientHops = [try cipher(5), try cipher(6), try cipher(7)]
        let routerHops = [try cipher(5), try cipher(6), try cipher(7)]
        var lost = 0
        meter.measure(layer, "three routers backward and client") {
            var bytes = body.mutableSpan
            var span = bytes.mutableBytes
            use(routerHops[2].originate(command: relay, body: &span))
            routerHops[1].backward(command: relay, body: &span)
            routerHops[0].backward(command: relay, body: &span)
            if ClientCipher.backward(clientHops, command: relay, body: &span)?.hop != 2 { lost += 1 }
        }
        guard lost == 0 else { throw BenchError.badFixture("a cell that the client does not recognise") }
    }
}

/// The circuit handshake, both sides of one hop.
func measureHandshake(_ meter: inout Meter) throws {
    let identity = Ed25519PrivateKey().publicKey
    let onionKey = X25519PrivateKey()
    let server = CircuitHandshake.Server(identity: identity, onionKeys: [onionKey])
    let client = CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey)
    let created = try server.respond(to: client.create).created
    meter.measure("handshake", "client, begin") {
        use(CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey))
    }
    try meter.measure("handshake", "server") { use(try server.respond(to: client.create)) }
    try meter.measure("handshake", "client, complete") { use(try client.complete(created: created)) }
    let keys = try client.complete(created: created)
    meter.measure("handshake", "two ciphers from the keys") {
        use(keys.makeForward())
        use(keys.makeBackward())
    }
}
