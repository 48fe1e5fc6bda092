using System.Diagnostics;

namespace Nibble.Kernels;

/// <summary>
/// Measures what each operator takes on the thread that records. Without a recording an operator's scope costs the read of one
/// thread-static field. On a GPU the times are those of the calling thread, which queues kernels and seldom waits for them.
/// </summary>
public sealed class Profiler
{
    [ThreadStatic]
    private static Profiler? current;

    private readonly List<ProfiledSpan> spans = [];
    private string pass = "";

    /// <summary>What was measured since the last <see cref="Clear"/>, in order of its end.</summary>
    public IReadOnlyList<ProfiledSpan> Spans => spans;

    /// <summary>Forgets what was measured.</summary>
    public void Clear() => spans.Clear();

    /// <summary>Records this thread's operators until it is disposed.</summary>
    public Recording Record() => new(this);

    /// <summary>Measures an operator; nothing when nobody records.</summary>
    public static Scope Operator(string name) => new(current, name, nested: false);

    /// <summary>Names the pass (forward, backward, ...) that operators belong to until it is disposed, and measures it.</summary>
    public static Scope Pass(string name) => new(current, name, nested: true);

    /// <summary>A recording under way.</summary>
    public readonly struct Recording : IDisposable
    {
        private readonly Profiler? before;

        internal Recording(Profiler profiler)
        {
            before = current;
            current = profiler;
        }

        /// <inheritdoc/>
        public void Dispose() => current = before;
    }

    /// <summary>A measurement under way.</summary>
    public readonly ref struct Scope
    {
        private readonly Profiler? profiler;
        private readonly string name;
        private readonly string outer;
        private readonly bool isPass;
        private readonly long start;

        internal Scope(Profiler? profiler, string name, bool nested)
        {
            this.profiler = profiler;
            this.name = name;
            isPass = nested;
            outer = profiler?.pass ?? "";
            if (profiler is not null)
            {
                profiler.pass = nested ? name : outer;
                start = Stopwatch.GetTimestamp();
            }
        }

        /// <summary>Ends the measurement.</summary>
        public void Dispose()
        {
            if (profiler is not null)
            {
                profiler.spans.Add(new ProfiledSpan(name, isPass ? null : outer, start, Stopwatch.GetTimestamp()));
                profiler.pass = outer;
            }
        }
    }
}

/// <summary>A stretch of time on one thread.</summary>
/// <param name="Name">The operator's name, or the pass's.</param>
/// <param name="Pass">The pass that an operator ran in; null for a pass itself.</param>
/// <param name="Start">In ticks of <see cref="Stopwatch"/>.</param>
/// <param name="End">In ticks of <see cref="Stopwatch"/>.</param>
public readonly record struct ProfiledSpan(string Name, string? Pass, long Start, long End)
{
    /// <summary>How long it was.</summary>
    public TimeSpan Duration => Stopwatch.GetElapsedTime(Start, End);
}
