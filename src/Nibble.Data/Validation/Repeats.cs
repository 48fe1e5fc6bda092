using System.Collections;
using System.Globalization;

namespace Nibble.Data.Validation;

/// <summary>
/// Finds what repeats: instructions, questions, near-duplicates, contradictions, and evaluation examples that are trained on.
/// File 0 is trained on; the others evaluate.
/// </summary>
internal sealed class Repeats : IDisposable
{
    private const int Place = 0;
    private const int Instruction = 1;
    private const int Question = 2;
    private const int Answer = 3;
    private const int Signature = 4;
    private const int Width = Signature + MinHash.Bands;

    private readonly FingerprintFile fingerprints = new(Width);
    private readonly IReadOnlyList<string> files;

    public Repeats(IReadOnlyList<string> files) => this.files = files;

    public void Add(int file, int line, ExampleView example)
    {
        Span<ulong> row = stackalloc ulong[Width];
        row.Clear();
        row[Place] = ((ulong)file << 32) | (uint)line;
        if (!string.IsNullOrWhiteSpace(example.Instruction))
        {
            row[Instruction] = TextHash.Of(example.Instruction.AsSpan().Trim());
            row[Question] = TextHash.Of(example.Input.AsSpan().Trim(), row[Instruction]);
            foreach (string answer in example.Answers ?? [])
            {
                row[Answer] = TextHash.Of(answer.AsSpan().Trim(), row[Answer] + 1);
            }

            example.TrySign(row[Signature..]);
        }

        fingerprints.Append(row);
    }

    /// <summary>All findings, one at a time, once everything is added.</summary>
    public IEnumerable<ValidationIssue> Find(CancellationToken cancellation) => Instructions().Concat(Questions()).Concat(NearlySame(cancellation));

    public void Dispose() => fingerprints.Dispose();

    private IEnumerable<ValidationIssue> Instructions()
    {
        foreach (ArraySegment<int> group in fingerprints.Groups(Instruction))
        {
            foreach ((int first, int repeat) in Repeated(group))
            {
                DataPlace before = At(first);
                string input = fingerprints.Value(first, Question) == fingerprints.Value(repeat, Question) ? "" : ", with another input";
                yield return new ValidationIssue(IssueCodes.DuplicateInstruction, At(repeat), $"has the instruction of line {before.Line}{input}", before);
            }
        }
    }

    private IEnumerable<ValidationIssue> Questions()
    {
        foreach (ArraySegment<int> group in fingerprints.Groups(Question))
        {
            foreach ((int first, int repeat) in Repeated(group))
            {
                if (fingerprints.Value(first, Answer) != fingerprints.Value(repeat, Answer))
                {
                    DataPlace before = At(first);
                    yield return new ValidationIssue(IssueCodes.ConflictingAnswers, At(repeat), $"answers the question of line {before.Line} differently", before);
                }
            }

            if (FileOf(group[0]) == 0)
            {
                DataPlace trained = At(group[0]);
                foreach (int row in group.Where(row => FileOf(row) > 0))
                {
                    yield return new ValidationIssue(IssueCodes.Leakage, At(row), $"is trained on: {trained.File}:{trained.Line} asks the same", trained);
                }
            }
        }
    }

    /// <summary>Pairs of a row and the first of its file, for every row that is not the first.</summary>
    private IEnumerable<(int First, int Repeat)> Repeated(ArraySegment<int> group)
    {
        (int file, int first) = (-1, -1);
        foreach (int row in group)
        {
            if (FileOf(row) != file)
            {
                (file, first) = (FileOf(row), row);
            }
            else
            {
                yield return (first, row);
            }
        }
    }

    private IEnumerable<ValidationIssue> NearlySame(CancellationToken cancellation)
    {
        var duplicates = new BitArray(fingerprints.Rows);
        var leaks = new BitArray(fingerprints.Rows);
        for (int band = 0; band < MinHash.Bands; band++)
        {
            foreach (ArraySegment<int> group in fingerprints.Groups(Signature + band))
            {
                cancellation.ThrowIfCancellationRequested();
                foreach (ValidationIssue issue in Compare(group, duplicates, leaks))
                {
                    yield return issue;
                }
            }
        }
    }

    /// <summary>Compares each row of a group with the few before it that are unlike each other, so that large groups stay cheap.</summary>
    private IEnumerable<ValidationIssue> Compare(ArraySegment<int> group, BitArray duplicates, BitArray leaks)
    {
        const int MostLeaders = 8;
        List<ulong[]> leaders = [];
        foreach (int row in group)
        {
            ulong[] fingerprint = new ulong[Width];
            fingerprints.Read(row, fingerprint);
            bool led = false;
            foreach (ulong[] leader in leaders)
            {
                bool sameFile = leader[Place] >> 32 == fingerprint[Place] >> 32;
                if (!sameFile && leader[Place] >> 32 != 0)
                {
                    continue;
                }

                double similarity = MinHash.Similarity(leader.AsSpan(Signature), fingerprint.AsSpan(Signature));
                led |= similarity >= MinHash.Near && sameFile;
                BitArray told = sameFile ? duplicates : leaks;
                if (similarity < MinHash.Near || leader[Question] == fingerprint[Question] || told[row])
                {
                    continue; // Equal questions are told of elsewhere.
                }

                told[row] = true;
                DataPlace before = At(leader[Place]);
                string alike = string.Create(CultureInfo.InvariantCulture, $"{similarity * 100:0}%");
                yield return sameFile
                    ? new ValidationIssue(IssueCodes.NearDuplicate, At(row), $"asks nearly what line {before.Line} asks ({alike} alike)", before)
                    : new ValidationIssue(IssueCodes.NearLeakage, At(row), $"is nearly trained on: {before.File}:{before.Line} asks {alike} the same", before);
            }

            if (!led && leaders.Count < MostLeaders)
            {
                leaders.Add(fingerprint);
            }
        }
    }

    private int FileOf(int row) => (int)(fingerprints.Value(row, Place) >> 32);

    private DataPlace At(int row) => At(fingerprints.Value(row, Place));

    private DataPlace At(ulong place) => new(files[(int)(place >> 32)], (int)(uint)place);
}
