using System.Text;
using System.Text.Json.Nodes;
using Microsoft.ML.Tokenizers;

namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// Reads OpenAI's tiktoken format, a line for each token: its bytes in base64, a space, and its rank, which is its id too.
/// Encoding is Microsoft.ML.Tokenizers' own; it accepts files that only fail later, so each line is looked at here first.
/// </summary>
internal static class TiktokenFile
{
    /// <summary>Whether a file is text in this format; SentencePiece's files, of the same name, begin with a control character.</summary>
    public static bool IsAt(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Path.GetExtension(path) == ".tiktoken" || (file.ReadByte() is var first and >= 0 && (char.IsAsciiLetterOrDigit((char)first) || first is '+' or '/'));
    }

    /// <summary>The file of a folder that has this format by its name, or null.</summary>
    public static string? In(string folder)
    {
        string[] files = Directory.Exists(folder) ? [.. Directory.GetFiles(folder, "*.tiktoken").Order(StringComparer.Ordinal)] : [];
        return files.Length < 2 ? files.FirstOrDefault()
            : throw new InvalidDataException($"{folder} has several tokenizers: {string.Join(", ", files.Select(Path.GetFileName))}. Leave one.");
    }

    public static TokenizerPipeline Read(string path, JsonObject settings, string? modelType)
    {
        Dictionary<string, int> tokens = ReadTokens(path);
        var family = TiktokenFamily.Of(path, settings, modelType);
        if (tokens.Count != family.Size)
        {
            throw new InvalidDataException($"{path}:{tokens.Count}: ends after {tokens.Count} tokens; {family.Name} has {family.Size}. The file is cut short, or another model's.");
        }

        if (Enumerable.Range(0, 256).FirstOrDefault(value => !tokens.ContainsKey($"{ByteAlphabet.CharacterOf((byte)value)}"), -1) is var missing and >= 0)
        {
            throw new InvalidDataException($"{path} has no token for the byte 0x{missing:X2}.");
        }

        var model = new TiktokenModel(TiktokenTokenizer.Create(path, preTokenizer: null, normalizer: null), tokens);
        List<AddedToken> added = AddedTokens(path, settings, family);
        foreach (AddedToken token in added)
        {
            tokens.TryAdd(token.Content, token.Id);
        }

        var splitter = new Llama3Splitter(family.LongestNumber);
        return new TokenizerPipeline
        {
            Tokens = tokens,
            AddedTokens = added,
            Normalize = (text, _) => family.Composes ? text.Normalize(NormalizationForm.FormC) : text,
            PreTokenize = (pieces, _) => splitter.Cut(pieces),
            Model = model,
            Template = (family.Before, []),
            Decode = TokenDecoders.ByteLevel,
        };
    }

    /// <summary>The tokens in the byte alphabet, as tokenizer.json would spell them.</summary>
    private static Dictionary<string, int> ReadTokens(string path)
    {
        var tokens = new Dictionary<string, int>(StringComparer.Ordinal);
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (line.Length == 0)
            {
                continue;
            }

            int rank = tokens.Count;
            string[] parts = line.Split(' ');
            var bytes = new byte[line.Length];
            if (parts.Length != 2 || parts[1] != $"{rank}" || !Convert.TryFromBase64String(parts[0], bytes, out int length) || length == 0)
            {
                throw new InvalidDataException($"{path}:{number}: expected a token in base64 and its rank, {rank}; found {Shown(line)}.");
            }

            if (!tokens.TryAdd(ByteAlphabet.Write(bytes.AsSpan(0, length)), rank))
            {
                throw new InvalidDataException($"{path}:{number}: {Shown(parts[0])} is a token already.");
            }
        }

        return tokens;
    }

    private static string Shown(string text) =>
        $"'{string.Concat(text.Take(40).Select(c => char.IsControl(c) ? '\ufffd' : c))}'{(text.Length > 40 ? "..." : "")}";

    private static List<AddedToken> AddedTokens(string path, JsonObject settings, TiktokenFamily family)
    {
        if (settings["added_tokens_decoder"] is not JsonObject listed)
        {
            return [.. family.SpecialTokens.Select(token => new AddedToken(token.Key, token.Value, Special: true, false, false, false, false))];
        }

        return
        [
            .. listed.Select(item => int.TryParse(item.Key, out int id) && item.Value?["content"] is JsonValue
                ? AddedToken.Of(id, item.Value)
                : throw new InvalidDataException($"{Path.Combine(Path.GetDirectoryName(path)!, "tokenizer_config.json")}: added_tokens_decoder has '{item.Key}', which is not a token id with its content.")),
        ];
    }
}
