namespace Nibble.Data.Validation;

/// <summary>
/// Looks for what makes a fine-tune fail or lie: empty and broken records, repetition, contradiction, evaluation data that is
/// trained on, secrets. One pass over the data; what must be compared across records is kept as fingerprints in a temporary file.
/// </summary>
public sealed class DataValidator
{
    /// <summary>What records given in memory are called in a report.</summary>
    private const string InMemory = "examples";

    private const int FewWords = 3;

    private readonly ValidationOptions options;

    /// <summary>Validates with options, or with the usual ones.</summary>
    public DataValidator(ValidationOptions? options = null) => this.options = options ?? new ValidationOptions();

    /// <summary>Validates a training file, and that the evaluation files are not trained on.</summary>
    /// <param name="path">The training file, in any of the forms that <see cref="DatasetReader"/> reads.</param>
    /// <param name="evaluation">Files that evaluate.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="InvalidDataException">A file has no records at all, or cannot be read to its end.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public ValidationReport Validate(string path, IReadOnlyList<string>? evaluation = null, CancellationToken cancellation = default)
    {
        string[] files = [path, .. evaluation ?? []];
        using var findings = new Findings(files, options);
        for (int file = 0; file < files.Length; file++)
        {
            var reading = new DatasetReadOptions { Format = options.Format, Map = options.Map, OnBadLine = findings.Bad, Progress = options.Progress };
            foreach (DatasetLine line in DatasetReader.ReadLines(files[file], reading))
            {
                cancellation.ThrowIfCancellationRequested();
                findings.Check(file, line.Line, line.Record);
            }
        }

        return findings.Report(cancellation);
    }

    /// <summary>Validates records; a report names them by their place, from 1.</summary>
    public ValidationReport Validate(IEnumerable<DatasetRecord> records)
    {
        ArgumentNullException.ThrowIfNull(records);
        using var findings = new Findings([InMemory], options);
        int place = 0;
        foreach (DatasetRecord record in records)
        {
            findings.Check(0, ++place, record);
        }

        return findings.Report(default);
    }

    /// <summary>What one validation has found so far.</summary>
    private sealed class Findings(string[] files, ValidationOptions options) : IDisposable
    {
        private readonly Repeats repeats = new(files);
        private readonly DatasetStatistics statistics = new();
        private readonly SortedDictionary<string, long> counts = new(StringComparer.Ordinal);
        private readonly List<ValidationIssue> issues = [];
        private long records;

        public void Bad(BadLine line) => Add(new ValidationIssue(line.Code, new DataPlace(line.Path, line.Line), line.Reason));

        public void Check(int file, int line, DatasetRecord record)
        {
            records++;
            var place = new DataPlace(files[file], line);
            int? tokens = Tokens(record, place);
            ExampleView? view = ExampleView.Of(record);
            if (file == 0)
            {
                statistics.Add(record, view, tokens);
            }

            if (tokens > options.MaxLength)
            {
                Add(new ValidationIssue(IssueCodes.TooLong, place, $"has {tokens} tokens, more than {options.MaxLength}"));
            }

            if (view is not null)
            {
                repeats.Add(file, line, view);
                foreach ((string code, string message) in Problems(record, view).DistinctBy(problem => problem.Code))
                {
                    Add(new ValidationIssue(code, place, message));
                }
            }
        }

        public ValidationReport Report(CancellationToken cancellation)
        {
            foreach (ValidationIssue issue in repeats.Find(cancellation))
            {
                Add(issue);
            }

            return new ValidationReport(
                files, records, counts, [.. issues.OrderBy(issue => Array.IndexOf(files, issue.Place.File)).ThenBy(issue => issue.Place.Line)], statistics, options.MaxLength);
        }

        public void Dispose() => repeats.Dispose();

        private int? Tokens(DatasetRecord record, DataPlace place)
        {
            try
            {
                return options.CountTokens?.Invoke(record);
            }
            catch (FormatException exception)
            {
                Add(new ValidationIssue(IssueCodes.InvalidRecord, place, exception.Message));
                return null;
            }
        }

        private void Add(ValidationIssue issue)
        {
            long count = counts[issue.Code] = counts.GetValueOrDefault(issue.Code) + 1;
            if (count <= options.KeptIssues)
            {
                issues.Add(issue);
            }
        }

        private static IEnumerable<(string Code, string Message)> Problems(DatasetRecord record, ExampleView view)
        {
            if (string.IsNullOrWhiteSpace(view.Instruction))
            {
                yield return (IssueCodes.EmptyInstruction, record is TextExample ? "has an empty text" : "asks nothing");
            }

            if (record is ChatExample chat && RoleOrder.Problem(chat) is { } disorder)
            {
                yield return (IssueCodes.RoleOrder, disorder);
            }

            foreach (string answer in view.Answers ?? [])
            {
                int words = DatasetStatistics.Words(answer);
                if (words == 0)
                {
                    yield return (IssueCodes.EmptyOutput, "answers nothing");
                }
                else if (words < FewWords)
                {
                    yield return (IssueCodes.ShortOutput, $"answers in {words} word{(words == 1 ? "" : "s")}");
                }
            }

            foreach ((string Code, string Message) problem in view.Texts.SelectMany(TextChecks.Problems))
            {
                yield return problem;
            }
        }
    }
}
