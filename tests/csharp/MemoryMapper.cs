using System;
using System.IO;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

/// <summary>
/// The recipe in C#: an object's JSON at the start of a map, the rest of the map zero. Whoever has it open keeps
/// the name alive.
/// </summary>
public sealed class MemoryMapper<T> : IDisposable where T : class
{
    static readonly Encoding Utf8 = new UTF8Encoding(false);
    static readonly JsonSerializerOptions Relaxed =
        new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly MemoryMappedFile map;

    MemoryMapper(MemoryMappedFile map)
    {
        this.map = map;
    }

    /// <summary>Opens the map under a name, or creates it. Windows only: .NET has no names elsewhere.</summary>
    public static MemoryMapper<T> Create(string name, long capacity)
    {
        return new MemoryMapper<T>(MemoryMappedFile.CreateOrOpen(name, capacity));
    }

    /// <summary>Opens the map under a name, which must exist. Windows only.</summary>
    public static MemoryMapper<T> Open(string name)
    {
        return new MemoryMapper<T>(MemoryMappedFile.OpenExisting(name));
    }

    /// <summary>A map on a file, which is created or made longer as needed.</summary>
    public static MemoryMapper<T> CreateOnFile(string path, long capacity)
    {
        return new MemoryMapper<T>(
            MemoryMappedFile.CreateFromFile(path, FileMode.OpenOrCreate, null, capacity));
    }

    /// <summary>A map on a file as it is.</summary>
    public static MemoryMapper<T> OpenFile(string path)
    {
        return new MemoryMapper<T>(MemoryMappedFile.CreateFromFile(path, FileMode.Open));
    }

    public long Capacity
    {
        get { using (var view = map.CreateViewAccessor()) return view.Capacity; }
    }

    public void Write(T entity)
    {
        WriteString(JsonSerializer.Serialize(entity));
    }

    /// <summary>With quotes, '+' and letters of all scripts as they are, where Write escapes them.</summary>
    public void WriteRelaxed(T entity)
    {
        WriteString(JsonSerializer.Serialize(entity, Relaxed));
    }

    public void WriteString(string text)
    {
        var bytes = Utf8.GetBytes(text);
        using (var view = map.CreateViewStream())
        {
            view.Write(bytes, 0, bytes.Length);
            // Without this the end of a longer value would stay behind.
            var rest = new byte[view.Length - view.Position];
            view.Write(rest, 0, rest.Length);
        }
    }

    /// <summary>As many programs do it: whatever lay behind the value stays there.</summary>
    public void WriteStringUntidily(string text)
    {
        var bytes = Utf8.GetBytes(text);
        using (var view = map.CreateViewStream())
            view.Write(bytes, 0, bytes.Length);
    }

    /// <summary>As a StreamWriter with Encoding.UTF8 does it: three bytes, a byte order mark, come first.</summary>
    public void WriteStringWithMark(string text)
    {
        WriteString("\uFEFF" + text);
    }

    public T Read()
    {
        return JsonSerializer.Deserialize<T>(ReadString());
    }

    public string ReadString()
    {
        using (var reader = new StreamReader(map.CreateViewStream(), Utf8))
            return reader.ReadToEnd().Trim('\0');
    }

    public void Dispose()
    {
        map.Dispose();
    }
}
