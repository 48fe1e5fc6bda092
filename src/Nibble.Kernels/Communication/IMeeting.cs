namespace Nibble.Kernels.Communication;

/// <summary>How processes find each other before NCCL connects them, and find out who is gone when it no longer does.</summary>
internal interface IMeeting
{
    /// <summary>This process.</summary>
    int Rank { get; }

    /// <summary>How many there are.</summary>
    int Size { get; }

    /// <summary>The bytes that rank 0 has; what the others have is ignored.</summary>
    /// <exception cref="IOException">A rank did not come.</exception>
    byte[] Share(byte[] ofRank0);

    /// <summary>Says which ranks did not come to this within the limit, as all others do when an operation failed; null when all came.</summary>
    string? Missing(TimeSpan limit);

    /// <summary>Ends it, when all have come to this.</summary>
    void Leave();

    /// <summary>Ends the other processes where that is in its power.</summary>
    void Abort(int code);
}
