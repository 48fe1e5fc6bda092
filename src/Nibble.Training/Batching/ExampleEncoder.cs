using Nibble.Data;

namespace Nibble.Training.Batching;

/// <summary>Turns records into tokens and labels: what is learned is the answer, with the token that ends it.</summary>
/// <param name="model">The model's folder, for its tokenizer.</param>
/// <param name="maxLength">Tokens of an example at most.</param>
/// <param name="vocabSize">Token ids are below this.</param>
public sealed class ExampleEncoder(string model, int maxLength, int vocabSize)
{
    /// <summary>All examples of a file; counts of cut and dropped ones go to the observer.</summary>
    /// <exception cref="InvalidDataException">A record is malformed, or nothing is left to learn.</exception>
    public List<EncodedExample> Read(string path, DatasetFormat format, ITrainingObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        DatasetFormat found = format == DatasetFormat.Auto ? DatasetReader.Detect(path) : format;
        var examples = new List<EncodedExample>();
        (int cut, int dropped) = (0, 0);
        foreach (DatasetRecord record in DatasetReader.Read(path, found))
        {
            EncodedExample example = Encode(record);
            if (example.InputIds.Length > maxLength)
            {
                cut++;
                example = new EncodedExample(example.InputIds[..maxLength], example.Labels[..maxLength]);
            }

            if (example.Targets == 0)
            {
                dropped++;
                continue;
            }

            examples.Add(example);
        }

        observer.Info($"{path}: {examples.Count} examples ({found.ToString().ToLowerInvariant()}), {examples.Sum(example => example.InputIds.Length)} tokens, "
            + $"{examples.Sum(example => example.Targets)} learned; {cut} cut to {maxLength} tokens, {dropped} dropped for having nothing to learn.");
        return examples.Count > 0
            ? examples
            : throw new InvalidDataException($"{path}: nothing is left to learn; of {dropped} records none has a label within {maxLength} tokens.");
    }

    /// <summary>One record.</summary>
    public EncodedExample Encode(DatasetRecord record) => record switch
    {
        TokenizedExample tokens => Checked(new EncodedExample(tokens.InputIds, tokens.Labels)),
        _ => throw new InvalidDataException($"{model} has no tokenizer."),
    };

    private EncodedExample Checked(EncodedExample example)
    {
        foreach (int id in example.InputIds)
        {
            if ((uint)id >= (uint)vocabSize)
            {
                throw new InvalidDataException($"Token id {id} is outside the model's vocabulary of {vocabSize}; the tokens were made with another tokenizer.");
            }
        }

        return example;
    }
}
