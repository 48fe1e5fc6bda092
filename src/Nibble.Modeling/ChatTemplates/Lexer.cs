using System.Globalization;
using System.Text;

namespace Nibble.Modeling.ChatTemplates;

internal enum TokenKind
{
    Text,
    BlockBegin,
    BlockEnd,
    PrintBegin,
    PrintEnd,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

internal readonly record struct Token(TokenKind Kind, string Text, int Line);

/// <summary>
/// Cuts a template into tokens, with the white-space rules that transformers sets: a line break after a block or comment goes
/// (trim_blocks), as do blanks before one at the start of its line (lstrip_blocks), and <c>-</c> strips everything.
/// </summary>
internal sealed class Lexer
{
    private static readonly string[] Operators =
        ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"];

    private readonly string source;
    private readonly List<Token> tokens = [];
    private int position;
    private int line = 1;

    private Lexer(string source) => this.source = source;

    public static List<Token> Read(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        if (source.EndsWith('\n'))
        {
            source = source[..^1];
        }

        var lexer = new Lexer(source);
        lexer.Run();
        return lexer.tokens;
    }

    private void Run()
    {
        bool stripLeft = false;
        bool lineStarts = true;
        while (position < source.Length)
        {
            int tag = NextTag(position);
            string text = source[position..(tag < 0 ? source.Length : tag)];
            int textLine = line;
            line += text.Count(c => c == '\n');
            if (tag < 0)
            {
                AddText(stripLeft ? text.TrimStart() : text, textLine);
                break;
            }

            char kind = source[tag + 1];
            char sign = tag + 2 < source.Length ? source[tag + 2] : ' ';
            if (stripLeft)
            {
                string trimmed = text.TrimStart();
                lineStarts &= trimmed.Length == text.Length;
                text = trimmed;
            }

            AddText(sign == '-' ? text.TrimEnd() : kind != '{' && sign != '+' ? StripIndent(text, lineStarts) : text, textLine);
            position = tag + 2 + (sign is '-' or '+' ? 1 : 0);
            (stripLeft, lineStarts) = kind switch
            {
                '#' => Comment(),
                '{' => Expression(TokenKind.PrintBegin, TokenKind.PrintEnd, "}}"),
                _ => Expression(TokenKind.BlockBegin, TokenKind.BlockEnd, "%}"),
            };
        }

        tokens.Add(new Token(TokenKind.End, "", line));
    }

    private int NextTag(int from)
    {
        for (int i = source.IndexOf('{', from); i >= 0 && i + 1 < source.Length; i = source.IndexOf('{', i + 1))
        {
            if (source[i + 1] is '{' or '%' or '#')
            {
                return i;
            }
        }

        return -1;
    }

    private void AddText(string text, int textLine)
    {
        if (text.Length > 0)
        {
            tokens.Add(new Token(TokenKind.Text, text, textLine));
        }
    }

    private static string StripIndent(string text, bool lineStarts)
    {
        int lineStart = text.LastIndexOf('\n') + 1;
        return (lineStart > 0 || lineStarts) && string.IsNullOrWhiteSpace(text[lineStart..]) ? text[..lineStart] : text;
    }

    private (bool StripLeft, bool LineStarts) Comment()
    {
        int end = source.IndexOf("#}", position, StringComparison.Ordinal);
        if (end < 0)
        {
            throw new ChatTemplateException($"line {line}: a comment has no end");
        }

        line += source[position..end].Count(c => c == '\n');
        bool strip = source[end - 1] == '-' && end > position;
        position = end + 2;
        return (strip, !strip && SkipLineBreak());
    }

    private bool SkipLineBreak()
    {
        if (position < source.Length && source[position] == '\n')
        {
            position++;
            line++;
            return true;
        }

        return false;
    }

    private (bool StripLeft, bool LineStarts) Expression(TokenKind begin, TokenKind end, string close)
    {
        tokens.Add(new Token(begin, "", line));
        int braces = 0;
        while (true)
        {
            SkipBlanks();
            if (position >= source.Length)
            {
                throw new ChatTemplateException($"line {line}: a tag has no end");
            }

            char sign = source[position];
            bool signed = sign is '-' or '+' && string.CompareOrdinal(source, position + 1, close, 0, 2) == 0;
            if (braces == 0 && (signed || string.CompareOrdinal(source, position, close, 0, 2) == 0))
            {
                position += signed ? 3 : 2;
                tokens.Add(new Token(end, "", line));
                bool strip = signed && sign == '-';
                return (strip, !strip && !signed && end == TokenKind.BlockEnd && SkipLineBreak());
            }

            Token token = NextToken();
            braces += token is { Kind: TokenKind.Operator, Text: "{" } ? 1 : token is { Kind: TokenKind.Operator, Text: "}" } ? -1 : 0;
            tokens.Add(token);
        }
    }

    private void SkipBlanks()
    {
        while (position < source.Length && char.IsWhiteSpace(source[position]))
        {
            line += source[position] == '\n' ? 1 : 0;
            position++;
        }
    }

    private Token NextToken()
    {
        char c = source[position];
        if (c is '"' or '\'')
        {
            return new Token(TokenKind.String, Quoted(c), line);
        }

        if (char.IsAsciiDigit(c))
        {
            return Number();
        }

        if (char.IsLetter(c) || c == '_')
        {
            int start = position;
            while (position < source.Length && (char.IsLetterOrDigit(source[position]) || source[position] == '_'))
            {
                position++;
            }

            return new Token(TokenKind.Name, source[start..position], line);
        }

        foreach (string op in Operators)
        {
            if (string.CompareOrdinal(source, position, op, 0, op.Length) == 0)
            {
                position += op.Length;
                return new Token(TokenKind.Operator, op, line);
            }
        }

        throw new ChatTemplateException($"line {line}: unexpected '{c}'");
    }

    private Token Number()
    {
        int start = position;
        bool isFloat = false;
        while (position < source.Length && (char.IsAsciiDigit(source[position]) || source[position] == '_' || (source[position] == '.' && !isFloat && position + 1 < source.Length && char.IsAsciiDigit(source[position + 1]))))
        {
            isFloat |= source[position++] == '.';
        }

        if (position + 1 < source.Length && source[position] is 'e' or 'E' && (char.IsAsciiDigit(source[position + 1]) || source[position + 1] is '-' or '+'))
        {
            isFloat = true;
            position += 2;
            while (position < source.Length && char.IsAsciiDigit(source[position]))
            {
                position++;
            }
        }

        return new Token(isFloat ? TokenKind.Float : TokenKind.Integer, source[start..position].Replace("_", "", StringComparison.Ordinal), line);
    }

    private string Quoted(char quote)
    {
        var text = new StringBuilder();
        for (position++; position < source.Length && source[position] != quote; position++)
        {
            line += source[position] == '\n' ? 1 : 0;
            text.Append(source[position] == '\\' && position + 1 < source.Length ? Escape() : source[position].ToString());
        }

        if (position >= source.Length)
        {
            throw new ChatTemplateException($"line {line}: a string has no end");
        }

        position++;
        return text.ToString();
    }

    /// <summary>Python's escapes; an unknown one stays as it is.</summary>
    private string Escape()
    {
        char c = source[++position];
        int digits = c switch
        {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if (digits > 0 && position + digits < source.Length
            && int.TryParse(source.AsSpan(position + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int code))
        {
            position += digits;
            return code is >= 0xD800 and <= 0xDFFF ? ((char)code).ToString() : char.ConvertFromUtf32(code);
        }

        return c switch
        {
            'n' => "\n",
            't' => "\t",
            'r' => "\r",
            '0' => "\0",
            'b' => "\b",
            'f' => "\f",
            '\n' => "",
            '\\' or '\'' or '"' => c.ToString(),
            _ => "\\" + c,
        };
    }
}
