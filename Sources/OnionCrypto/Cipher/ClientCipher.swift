/// The client's side of a circuit's layers: one ``HopCipher`` per hop and direction, in path order.
///
/// - Source: DESIGN §6.2; Tor proposal 359.
public enum ClientCipher {
    /// Makes a cell for one hop: writes the tag into the first 16 bytes and removes, ahead of time, the layers that the
    /// hops up to that one will add.
    ///
    /// - Parameters:
    ///   - hops: The forward ciphers of the circuit.
    ///   - target: Index of the hop that the cell is for.
    ///   - command: Command of the link cell.
    ///   - body: The whole cell body.
    /// - Returns: The cell's tag, which that hop's SendMe may name.
    public static func originate(
        _ hops: [HopCipher], target: Int, command: UInt8, body: inout MutableRawSpan
    ) -> CellTag {
        let tag = hops[target].originateAtClient(command: command, body: &body)
        for hop in hops[..<target].reversed() { hop.forwardAtClient(command: command, body: &body) }
        return tag
    }

    /// Removes the layers of an arrived cell until a hop's tag appears.
    ///
    /// - Parameters:
    ///   - hops: The backward ciphers of the circuit.
    ///   - command: Command of the link cell.
    ///   - body: The whole cell body.
    /// - Returns: Index of the hop that originated the cell, and the cell's tag; nil if no hop did, and the circuit is
    ///   to be destroyed.
    public static func backward(
        _ hops: [HopCipher], command: UInt8, body: inout MutableRawSpan
    ) -> (hop: Int, tag: CellTag)? {
        for (index, hop) in hops.enumerated() {
            if let tag = hop.backwardAtClient(command: command, body: &body) { return (index, tag) }
        }
        return nil
    }
}
