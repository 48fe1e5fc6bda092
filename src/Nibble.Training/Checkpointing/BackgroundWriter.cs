namespace Nibble.Training.Checkpointing;

/// <summary>Writes beside the training, one thing after the other. What fails is told to whoever asks next.</summary>
internal sealed class BackgroundWriter : IDisposable
{
    private Task writing = Task.CompletedTask;

    /// <summary>Begins to write, when what is being written is through.</summary>
    public void Start(Action write)
    {
        Wait();
        writing = Task.Run(write);
    }

    /// <summary>Throws what the last writing failed with, and does not wait for it.</summary>
    public void Check()
    {
        if (writing.IsFaulted)
        {
            Wait();
        }
    }

    /// <summary>Waits, and throws what the last writing failed with.</summary>
    public void Wait()
    {
        Task last = writing;
        writing = Task.CompletedTask;
        last.GetAwaiter().GetResult();
    }

    /// <summary>Waits; a failure is not told here, for it would hide the one that ended the run.</summary>
    public void Dispose() => Task.WhenAny(writing).Wait();
}
