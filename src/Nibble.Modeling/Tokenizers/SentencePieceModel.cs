using System.Text;
using Google.Protobuf;

namespace Nibble.Modeling.Tokenizers;

/// <summary>Reads SentencePiece's tokenizer.model (BPE), a protocol buffer of pieces with scores, into the same engine.</summary>
internal static class SentencePieceModel
{
    private const int Unknown = 2;
    private const int Control = 3;
    private const int UserDefined = 4;

    private sealed record Piece(string Text, float Score, int Type);

    public static TokenizerPipeline Read(string path)
    {
        List<Piece> pieces = [];
        (int modelType, bool byteFallback, bool dummyPrefix, bool removeExtraSpaces) = (1, false, true, true);
        try
        {
            var input = new CodedInputStream(File.ReadAllBytes(path));
            Each(input, field =>
            {
                switch (field)
                {
                    case 1:
                        pieces.Add(ReadPiece(input.ReadBytes().ToByteArray()));
                        return true;
                    case 2:
                        (modelType, byteFallback) = ReadTrainer(input.ReadBytes().ToByteArray());
                        return true;
                    case 3:
                        (dummyPrefix, removeExtraSpaces) = ReadNormalizer(input.ReadBytes().ToByteArray());
                        return true;
                    default:
                        return false;
                }
            });
        }
        catch (InvalidProtocolBufferException exception)
        {
            throw new InvalidDataException($"{path} is not a SentencePiece model: {exception.Message}", exception);
        }

        if (modelType != 2)
        {
            throw new InvalidDataException($"{path} is a SentencePiece model of type {modelType}; 2 (BPE) is supported.");
        }

        Dictionary<string, int> tokens = pieces.Select((piece, id) => (piece.Text, id)).DistinctBy(item => item.Text).ToDictionary(item => item.Text, item => item.id, StringComparer.Ordinal);
        int bos = tokens.GetValueOrDefault("<s>", -1);
        var vocabulary = new BpeVocabulary
        {
            Tokens = tokens,
            Merges = Merges(pieces, tokens),
            UnknownToken = pieces.FirstOrDefault(piece => piece.Type == Unknown)?.Text,
            FuseUnknown = true,
            ByteFallback = byteFallback,
        };
        var words = new WordSplitter(vocabulary);
        return new TokenizerPipeline
        {
            Tokens = tokens,
            AddedTokens =
            [
                .. pieces.Select((piece, id) => (piece, id)).Where(item => item.piece.Type is Unknown or Control or UserDefined)
                    .Select(item => new AddedToken(item.id, item.piece.Text, item.piece.Type != UserDefined, false, false, false, false)),
            ],
            Normalize = (text, mark) => Mark(removeExtraSpaces ? Squeeze(text) : text, dummyPrefix && mark != WordMark.Never),
            PreTokenize = (parts, _) => words.Cut(parts),
            Model = new BpeModel(vocabulary, byteLevel: false),
            Template = (bos >= 0 ? [bos] : [], []),
            Decode = parts => TokenDecoders.Strip(' ', dummyPrefix ? 1 : 0, 0)(TokenDecoders.Fuse(TokenDecoders.ByteFallback(TokenDecoders.Replace("\u2581", " ")(parts)))),
        };
    }

    /// <summary>Any two pieces that make a third may merge; the better the third's score, the earlier.</summary>
    private static Dictionary<long, (int Rank, int Id)> Merges(List<Piece> pieces, Dictionary<string, int> tokens)
    {
        int[] order = [.. Enumerable.Range(0, pieces.Count).Where(id => pieces[id].Type == 1).OrderByDescending(id => pieces[id].Score)];
        var merges = new Dictionary<long, (int, int)>();
        for (int rank = 0; rank < order.Length; rank++)
        {
            string text = pieces[order[rank]].Text;
            for (int cut = 1; cut < text.Length; cut++)
            {
                if (!char.IsLowSurrogate(text[cut]) && tokens.TryGetValue(text[..cut], out int left) && tokens.TryGetValue(text[cut..], out int right))
                {
                    merges.TryAdd(BpeMerger.Key(left, right), (rank, order[rank]));
                }
            }
        }

        return merges;
    }

    private static AlignedText Mark(AlignedText text, bool dummyPrefix)
    {
        AlignedText marked = text.Replace(" ", "\u2581");
        return dummyPrefix && marked.Length > 0 ? marked.Prepend("\u2581") : marked;
    }

    /// <summary>Spaces at the ends go, runs of them become one.</summary>
    private static AlignedText Squeeze(AlignedText text)
    {
        ReadOnlySpan<char> trimmed = text.Span.TrimStart(' ');
        AlignedText result = text.Slice(text.Length - trimmed.Length, trimmed.TrimEnd(' ').Length);
        while (result.Span.Contains("  ", StringComparison.Ordinal))
        {
            result = result.Replace("  ", " ");
        }

        return result;
    }

    private static Piece ReadPiece(byte[] bytes)
    {
        var input = new CodedInputStream(bytes);
        (string text, float score, int type) = ("", 0f, 1);
        Each(input, field =>
        {
            switch (field)
            {
                case 1:
                    text = Encoding.UTF8.GetString(input.ReadBytes().Span);
                    return true;
                case 2:
                    score = input.ReadFloat();
                    return true;
                case 3:
                    type = input.ReadInt32();
                    return true;
                default:
                    return false;
            }
        });
        return new Piece(text, score, type);
    }

    private static (int ModelType, bool ByteFallback) ReadTrainer(byte[] bytes)
    {
        var input = new CodedInputStream(bytes);
        (int type, bool fallback) = (1, false);
        Each(input, field =>
        {
            switch (field)
            {
                case 3:
                    type = input.ReadInt32();
                    return true;
                case 35:
                    fallback = input.ReadBool();
                    return true;
                default:
                    return false;
            }
        });
        return (type, fallback);
    }

    private static (bool DummyPrefix, bool RemoveExtraSpaces) ReadNormalizer(byte[] bytes)
    {
        var input = new CodedInputStream(bytes);
        (bool prefix, bool remove) = (true, true);
        Each(input, field =>
        {
            switch (field)
            {
                case 3:
                    prefix = input.ReadBool();
                    return true;
                case 4:
                    remove = input.ReadBool();
                    return true;
                default:
                    return false;
            }
        });
        return (prefix, remove);
    }

    /// <summary>Walks the fields of a message; those that <paramref name="read"/> does not take are skipped.</summary>
    private static void Each(CodedInputStream input, Func<int, bool> read)
    {
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            if (!read((int)(tag >> 3)))
            {
                input.SkipLastField();
            }
        }
    }
}
