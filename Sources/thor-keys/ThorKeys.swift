import ArgumentParser
import ThorDaemon

/// Makes the keys of a network: a private one for the directory server and for each router, and their public halves.
///
/// - Source: DESIGN §11.
@main
struct ThorKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "thor-keys",
        abstract: "Make the keys of a Thor network.",
        discussion: """
            A network needs one key for its directory server and one for each onion router:

              thor-keys generate directory.key
              thor-keys public directory.key directory.pub

            A private key file stays on the machine that uses it; whoever has it can pass for that machine. \
            directory.pub goes to everybody who takes part. For a backup, encrypted with a passphrase:

              thor-keys copy directory.key directory.key.backup --passphrase
            """,
        version: "thor-keys \(DaemonVersion.number)",
        subcommands: [Generate.self, Public.self, Copy.self])

    static func main() {
        // Before a key or a passphrase is in memory.
        CoreDumps.disable()
        self.main(nil)
    }
}
