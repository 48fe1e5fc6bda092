namespace Nibble.Evaluation.Predictions;

/// <summary>Reads predictions, and joins them with references.</summary>
public static class PredictionFile
{
    private static readonly string[] PredictionNames = ["prediction", AnswerRow.Line];
    private static readonly string[] ReferenceNames = ["reference", "references", "answer", "output", "target", AnswerRow.Line];
    private static readonly string[] PromptNames = ["prompt", "question", "instruction"];
    private static readonly string[] KeyNames = ["index", "id"];

    /// <summary>The predictions that a <see cref="PredictionWriter"/> wrote, in the file's order.</summary>
    /// <exception cref="InvalidDataException">A line is no prediction, or has the index of an earlier one; the message has file, line and reason.</exception>
    public static IEnumerable<Prediction> Read(string path)
    {
        var known = new HashSet<int>();
        foreach (AnswerRow row in AnswerRow.Read(path))
        {
            Prediction prediction = row.Get(Prediction.Of);
            yield return known.Add(prediction.Index) ? prediction : throw new InvalidDataException($"{row.Where}: has the index {prediction.Index} of an earlier line.");
        }
    }

    /// <summary>Predictions with their references, in the order of the references.</summary>
    /// <param name="predictions">
    /// Rows of JSON lines, a JSON array, CSV, TSV or Parquet with a field <c>prediction</c>; a file of any other name has one prediction a line.
    /// </param>
    /// <param name="references">
    /// The same with a field <c>reference</c>, <c>references</c> (a list), <c>answer</c>, <c>output</c> or <c>target</c>; null: they are in the
    /// predictions' own rows. Rows that both have a field <c>index</c> or <c>id</c> are joined by it; where only the predictions have an
    /// <c>index</c>, it is a place among the references, from 0; else both are in the same order.
    /// </param>
    /// <param name="referenceField">The references' field, where it has another name.</param>
    /// <exception cref="InvalidDataException">A row is malformed or has no partner; the message has file, line and reason.</exception>
    public static IReadOnlyList<EvaluationExample> Pair(string predictions, string? references = null, string? referenceField = null)
    {
        AnswerRow[] answers = AnswerRow.ReadAny(predictions);
        if (references is null)
        {
            return [.. answers.Select(row => Example(row, row, referenceField))];
        }

        AnswerRow[] expected = AnswerRow.ReadAny(references);
        string? key = KeyNames.FirstOrDefault(name => answers.All(row => row.First(name) is not null));
        bool joined = key is not null && expected.All(row => row.First(key) is not null);
        if (!joined && key != "index")
        {
            return answers.Length == expected.Length
                ? [.. answers.Zip(expected, (answer, reference) => Example(answer, reference, referenceField))]
                : throw new InvalidDataException($"{predictions} has {answers.Length} rows and {references} {expected.Length}; expected as many, or a field 'index' or 'id' in both.");
        }

        Dictionary<string, AnswerRow> byKey = ByKey(answers, key!);
        (string Key, AnswerRow Row)[] keyed = joined
            ? [.. ByKey(expected, key!).Select(item => (item.Key, item.Value))]
            : [.. expected.Select((row, place) => ($"{place}", row))];
        EvaluationExample[] examples =
        [
            .. keyed.Select(item => Example(
                byKey.Remove(item.Key, out AnswerRow? answer) ? answer : throw new InvalidDataException($"{item.Row.Where}: has no prediction with the {key} {item.Key} in {predictions}."),
                item.Row,
                referenceField)),
        ];
        return byKey.FirstOrDefault() is (string left, { } without)
            ? throw new InvalidDataException($"{without.Where}: has no reference with the {key} {left} in {references}.")
            : examples;
    }

    private static Dictionary<string, AnswerRow> ByKey(AnswerRow[] rows, string key)
    {
        var byKey = new Dictionary<string, AnswerRow>();
        foreach (AnswerRow row in rows)
        {
            string value = row.Get(fields => Field.Text(fields, key));
            if (!byKey.TryAdd(value, row))
            {
                throw new InvalidDataException($"{row.Where}: has the {key} {value} of an earlier row.");
            }
        }

        return byKey;
    }

    private static EvaluationExample Example(AnswerRow answer, AnswerRow reference, string? referenceField)
    {
        string predictionName = answer.First(PredictionNames) ?? PredictionNames[0];
        string referenceName = referenceField ?? reference.First(ReferenceNames) ?? ReferenceNames[0];
        AnswerRow? asked = Array.Find([answer, reference], row => row.First(PromptNames) is not null);
        return new EvaluationExample(
            asked?.Get(fields => Field.Text(fields, asked.First(PromptNames)!)) ?? "",
            reference.Get(fields => Field.Texts(fields, referenceName)),
            answer.Get(fields => Field.Text(fields, predictionName)));
    }
}
