/// Makes a server's text fit for a terminal: control characters could move the cursor, or worse.
package enum DisplayText {
    /// Drop control characters, except line feeds and tabs.
    package static func block(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { $0 == "\n" || $0 == "\t" || !Self.isControl($0) }))
    }

    /// Make it one line of at most 300 characters.
    package static func line(_ text: String) -> String {
        let words = self.block(text).split(whereSeparator: \.isWhitespace).joined(separator: " ")
        return words.count <= 300 ? words : words.prefix(299) + "…"
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.generalCategory == .control
            || scalar.properties.generalCategory == .format && scalar.value != 0x200D
    }
}
