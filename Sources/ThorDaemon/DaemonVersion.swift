/// The version that all programs of this package show.
package enum DaemonVersion {
    package static let number = "0.1.0"
    /// What a descriptor names as its software.
    package static let software = "thor \(number)"
}
