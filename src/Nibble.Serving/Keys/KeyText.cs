using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Nibble.Serving.Keys;

/// <summary>
/// A key as its bearer writes it: <c>nibble_ID_SECRET</c>, 64 random bits in hexadecimal digits by which its row is found, and 256 random bits
/// that prove it. A slow hash is for secrets that people choose; nobody guesses 256 random bits, whatever a guess costs, so SHA-256
/// suffices, and costs the service nothing on each request.
/// </summary>
internal static class KeyText
{
    private const string Prefix = "nibble_";
    private const int IdBytes = 8;
    private const int SecretBytes = 32;

    /// <summary>What no key hashes to.</summary>
    private static readonly byte[] Nothing = new byte[SHA256.HashSizeInBytes];

    public static (string Id, string Text) New()
    {
        string id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(IdBytes));
        return (id, $"{Prefix}{id}_{Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(SecretBytes))}");
    }

    /// <summary>The public part of what may be a key; null for what is none.</summary>
    public static string? IdOf(string text) =>
        text.StartsWith(Prefix, StringComparison.Ordinal) && text.Length > Prefix.Length + (2 * IdBytes) && text[Prefix.Length + (2 * IdBytes)] == '_' ? text.Substring(Prefix.Length, 2 * IdBytes) : null;

    public static string HashOf(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    /// <summary>Whether a text is a key that is still good. How long that takes tells nothing of the key, nor whether there is one.</summary>
    public static bool Proves(string text, ApiKey? key) =>
        CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(text)), key is null ? Nothing : Convert.FromHexString(key.Hash)) && key is { Revoked: null };
}
