import Testing

@testable import OnionDirectory

@Suite("UTC time")
struct UTCTimeTests {
    @Test(
        "prints as GNU date does",
        arguments: [
            (0, "1970-01-01 00:00:00 UTC"), (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"), (1_795_457_218, "2026-11-23 18:06:58 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"), (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (1_002_708_610, "2001-10-10 10:10:10 UTC"),
            (253_402_300_800, "Unix time 253402300800"), (UInt64.max, "Unix time 18446744073709551615"),
        ] as [(UInt64, String)])
    func text(seconds: UInt64, expected: String) {
        #expect(UTCTime(seconds).description == expected)
    }
}
