/// Unix seconds as people read them: `2026-11-23 18:06:58 UTC`.
///
/// - Source: days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
struct UTCTime: CustomStringConvertible {
    private let seconds: UInt64

    init(_ seconds: UInt64) { self.seconds = seconds }

    var description: String {
        // Past the year 9999 nothing but the number is of use.
        guard self.seconds < 253_402_300_800 else { return "Unix time \(self.seconds)" }
        let days = self.seconds / 86_400 + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let ofDay = self.seconds % 86_400
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(year)-\(two(month))-\(two(day)) \(two(ofDay / 3_600)):\(two(ofDay / 60 % 60)):\(two(ofDay % 60)) UTC"
    }
}
