using Nibble.Data;
using Nibble.Evaluation;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Batching;

namespace Nibble.Training;

/// <summary>Examples as evaluators read them, in the form in which the model is trained and used.</summary>
public static class EvaluationData
{
    /// <summary>The examples of a file; none is cut.</summary>
    /// <param name="path">The file.</param>
    /// <param name="encoder">Encodes for the model, with room for the longest example.</param>
    /// <param name="tokenizer">The model's; null where the folder has none, which only records of tokens can do without.</param>
    /// <param name="options">How the file is read.</param>
    /// <exception cref="InvalidDataException">A record is malformed or does not fit the model.</exception>
    public static IEnumerable<EvaluationExample> Read(string path, ExampleEncoder encoder, HfTokenizer? tokenizer, DatasetReadOptions options)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        foreach (DatasetLine line in DatasetReader.ReadLines(path, options))
        {
            EvaluationExample example = Of(ExampleEncoder.At(path, line.Line, () => encoder.Encode(line.Record)), tokenizer);
            yield return line.Record switch
            {
                ChoiceExample choice => example with { Choices = ExampleEncoder.At(path, line.Line, () => encoder.Choices(choice)), Answer = choice.Answer },
                TextExample => example with { Prompt = "", References = [] }, // All of it is given, and all of it is to be predicted.
                _ => example,
            };
        }
    }

    /// <summary>An example whose last learned run is the answer to be found; texts are empty without a tokenizer.</summary>
    public static EvaluationExample Of(EncodedExample tokens, HfTokenizer? tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        (int[] prompt, int[] answer) = tokens.Question();
        return new EvaluationExample(
            tokenizer?.Decode(prompt.SkipWhile(id => id == tokenizer.BosId), skipSpecialTokens: false) ?? "", tokenizer is null ? [] : [tokenizer.Decode(answer, skipSpecialTokens: true)])
        {
            Tokens = tokens,
        };
    }
}
