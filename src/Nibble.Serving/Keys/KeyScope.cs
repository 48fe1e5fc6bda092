namespace Nibble.Serving.Keys;

/// <summary>What a key lets its bearer do; each scope includes those before it.</summary>
public enum KeyScope
{
    /// <summary>To look at jobs, files and figures.</summary>
    Read,

    /// <summary>To create jobs, to pause, resume and cancel its own, and to change whatever else there is.</summary>
    Train,

    /// <summary>To read who has done what, and to change the jobs of other keys.</summary>
    Admin,
}
