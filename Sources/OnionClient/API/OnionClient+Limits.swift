public import NIOCore

extension OnionClient {
    /// The client's own limits and times; those of the network are in the consensus.
    public struct Limits: Sendable {
        /// Unused circuits that are kept open for each port or wish seen lately.
        public var cleanCircuitCount = 2
        /// Circuits under construction at once.
        public var concurrentBuildCount = 8
        /// Circuits of all kinds but those to the directory; beyond it idle ones make way, and where none is idle requests
        /// fail. A guard allows a client 256; the network can only lower it.
        public var circuitCount = 240
        /// Circuits to ask the directory by.
        public var directoryCircuitCount = 8
        /// Requests that may wait for a circuit.
        public var waitingRequestCount = 16_384
        /// Different circuits that they may wait for: of other isolation keys, or with other last hops.
        public var waitingDemandCount = 1024
        /// The part of both, in percent, that one program may have where its destinations are kept apart: a web page can name
        /// any number of these.
        public var destinationSharePercent = 75
        /// Bytes that the streams of all circuits may hold: for cells, and for programs that do not take them. Past it the
        /// circuit with the oldest goes. The network can only lower it.
        public var queuedByteCount = 256 << 20
        /// Streams that a circuit carries over its life; its ids would do for 65,535.
        public var carriedStreamsPerCircuit = 30_000
        /// How long a circuit that was never used is kept.
        public var unusedCircuitAge = TimeAmount.minutes(30)
        /// A circuit that is not complete after this long gets a competitor, if somebody waits for it; until enough circuits
        /// have been built to learn what is usual.
        public var slowBuildAfter = TimeAmount.milliseconds(1_200)
        /// For how long a port or wish is remembered.
        public var wishMemory = TimeAmount.hours(1)
        /// How many different wishes; the oldest is forgotten.
        public var rememberedWishCount = 16
        /// How long a request may take in all, from the application's wish to Connected.
        public var requestPatience = TimeAmount.seconds(60)
        /// For how long requests wait for a newer list of routers when theirs has expired; from then on they fail at once.
        public var newListPatience = TimeAmount.seconds(30)
        /// How long one exit may take to answer a Begin or Resolve before another is tried.
        public var attemptTimeLimit = TimeAmount.seconds(20)
        /// How often a request is tried again on another circuit.
        public var retryCount = 3
        /// How many other exits are asked when one cannot connect to the destination, and how long that may take in all.
        public var otherExitCount = 2
        public var otherExitPatience = TimeAmount.seconds(2)
        /// For how long exits that could not connect to a destination are left out for it, and for how many destinations.
        public var refusalMemory = TimeAmount.minutes(10)
        public var refusalMemoryCount = 256
        /// How long a guard's link may take to open: TCP, TLS and NetInfo.
        public var guardLinkTimeLimit = TimeAmount.seconds(5)
        /// For how long a router at which a circuit failed is left out of paths, if others will do.
        public var suspicion = TimeAmount.seconds(30)
        /// How long the directory server may take to accept a connection and say Hello.
        public var directoryConnectTimeLimit = TimeAmount.seconds(10)
        /// The directory server is asked directly when no circuit could be built for this long.
        public var directFallbackAfter = TimeAmount.seconds(20)

        public init() {}
    }
}
