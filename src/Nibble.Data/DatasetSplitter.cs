using System.Security.Cryptography;
using System.Text;

namespace Nibble.Data;

/// <summary>Divides examples by a hash of their content, so that adding examples never moves old ones to the other side.</summary>
public static class DatasetSplitter
{
    /// <summary>Whether an example belongs to the evaluation side.</summary>
    /// <param name="content">What identifies it.</param>
    /// <param name="evalRatio">The share of that side, 0 to 1.</param>
    /// <param name="seed">Another seed, another division.</param>
    public static bool IsEvaluation(string content, double evalRatio, ulong seed)
    {
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{seed}:{content}"));
        return BitConverter.ToUInt64(hash) / (double)ulong.MaxValue < evalRatio;
    }
}
