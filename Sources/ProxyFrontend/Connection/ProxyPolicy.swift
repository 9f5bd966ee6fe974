/// What the proxy does with requests, as its user has chosen.
package struct ProxyPolicy: Sendable, Equatable {
    /// Streams to different destinations never share a circuit, whoever asks.
    package var isolatesDestinations = false

    /// Address literals are refused: a program that sends them may have looked names up by itself, where others can see it.
    package var refusesAddresses = false

    package init() {}
}
