#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Facts for the program that started this one, one a line, written at once.
///
/// A reader that has gone away is no reason for a daemon to end: failed writes are ignored.
package enum StandardOutput {
    /// Say `listening ADDRESS`, with the port really bound.
    package static func listening(_ address: String) { Self.line("listening \(address)") }

    /// Say `ready`: the daemon now does what it is for.
    package static func ready() { Self.line("ready") }

    /// Write one line without buffering.
    ///
    /// - Returns: false if its reader has gone away.
    @discardableResult
    package static func line(_ text: String) -> Bool { writeWhole(text + "\n", to: STDOUT_FILENO) }
}

/// Write all of `text`, going on after short writes and interruptions; give up silently at an error.
///
/// - Returns: false if the reader of a pipe or socket has gone away.
@discardableResult
func writeWhole(_ text: String, to descriptor: Int32) -> Bool {
    var text = text
    return text.withUTF8 { bytes in
        var rest = UnsafeRawBufferPointer(bytes)
        while rest.count > 0 {
            let written = write(descriptor, rest.baseAddress, rest.count)
            if written > 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
            } else if errno != EINTR {
                return errno != EPIPE
            }
        }
        return true
    }
}
